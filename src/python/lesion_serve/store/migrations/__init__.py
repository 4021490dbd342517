"""How the tables of the store come about; alembic runs these, see ``database.prepare``."""
