from django.http import HttpResponse
from django.templatetags.static import static
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse(f'<link rel="stylesheet" href="{static("pages/site.css")}">'))]
