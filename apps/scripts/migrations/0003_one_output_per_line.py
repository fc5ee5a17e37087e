from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, Min


def keep_the_first(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """A piece that was stored twice, its first commit's answer having been lost, stays where it came first."""
    rows = apps.get_model("scripts", "ScriptOutput").objects.using(editor.connection.alias)
    pieces = rows.order_by().values("run_id", "fence", "ordinal")
    stored = pieces.annotate(times=Count("pk"), first=Min("pk")).filter(times__gt=1)
    for name in list(stored):
        del name["times"]
        rows.filter(pk__gt=name.pop("first"), **name).delete()


class Migration(migrations.Migration):

    dependencies = [
        ('scripts', '0002_runs'),
    ]

    operations = [
        migrations.RunPython(keep_the_first, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name='scriptoutput',
            constraint=models.UniqueConstraint(fields=('run', 'fence', 'ordinal'), name='one_output_per_line'),
        ),
    ]
