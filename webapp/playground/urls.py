"""Addresses of the chat page."""

from __future__ import annotations

from django.urls import path

from webapp.playground import views

urlpatterns = [path("", views.chat, name="chat")]
