"""`python -m notification_service`: serve."""

from notification_service.app import make_app
from notification_service.settings import NotificationSettings
from shared.service import serve
from shared.settings import read_settings

if __name__ == "__main__":
    settings = read_settings(NotificationSettings)
    serve(make_app(settings), settings)
