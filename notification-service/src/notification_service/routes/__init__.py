"""HTTP in: the inbox, the live stream, and the door for neighbours."""
