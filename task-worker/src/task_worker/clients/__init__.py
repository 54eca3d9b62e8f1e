"""The neighbours a task needs: quota, conversations, knowledge and notifications."""
