"""What alembic runs: the revisions, in the transaction of the connection that it was given."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="store_revision")
with context.begin_transaction():
    context.run_migrations()
