import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0007_deaths'),
    ]

    operations = [
        migrations.AlterField(
            model_name='turn',
            name='message',
            field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='agents.agentmessage'),
        ),
    ]
