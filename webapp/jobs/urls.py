"""Addresses of jobs."""

from __future__ import annotations

from django.urls import path

from webapp.jobs import views

urlpatterns = [
    path("", views.job_list, name="job-list"),
    path("new/", views.job_new, name="job-new"),
    path("new/plan/", views.job_plan, name="job-plan"),
    path("example/", views.example_launch, name="example-launch"),
    path("<uuid:job_id>/", views.job, name="job"),
    path("<uuid:job_id>/live/", views.job_live, name="job-live"),
    path("<uuid:job_id>/curves/", views.job_curves, name="job-curves"),
    path("<uuid:job_id>/cancel/", views.job_cancel, name="job-cancel"),
    path("<uuid:job_id>/pause/", views.job_pause, name="job-pause"),
    path("<uuid:job_id>/resume/", views.job_resume, name="job-resume"),
    path("<uuid:job_id>/retry/", views.job_retry, name="job-retry"),
    path("<uuid:job_id>/control/", views.job_control, name="job-control"),
]
