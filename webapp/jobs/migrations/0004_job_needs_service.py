from django.db import migrations, models


def mark_waiting(apps, schema_editor):
    """Jobs that were launched before and may still be claimed."""
    for job in apps.get_model("jobs", "Job").objects.exclude(state="succeeded"):
        job.needs_service = any(
            stage.get("invented_conversations")
            or (
                stage.get("translated_rows")
                and stage.get("translator", "endpoint") == "endpoint"
            )
            for stage in job.spec.get("stages") or ()
        )
        if job.needs_service:
            job.save(update_fields=["needs_service"])


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0003_host_has_service'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='needs_service',
            field=models.BooleanField(default=False),
        ),
        migrations.RunPython(mark_waiting, migrations.RunPython.noop),
    ]
