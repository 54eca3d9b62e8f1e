"""`python -m notification_service`: serve."""

from notification_service.app import make_app
from notification_service.settings import NotificationSettings
from shared.service import serve

if __name__ == "__main__":
    settings = NotificationSettings()
    serve(make_app(settings), settings)
