#!/bin/bash
# Runs once, as the superuser, when PostgreSQL makes its volume: one account and its own databases for Temporal, one
# account and one database for Anneal. Neither account can enter the other's databases.
set -euo pipefail

temporal_password="$(cat /run/secrets/temporal_db_password)"
# postgresql://anneal:<password>@postgresql:5432/anneal. The worker's file is the one place of this password.
rest="$(cat /run/secrets/anneal_database_url)"
rest="${rest#*://anneal:}"
anneal_password="${rest%%@*}"
# Hex only: it then stands unescaped in a URL, in YAML and in SQL.
for password in "$temporal_password" "$anneal_password"; do
  if [[ ! "$password" =~ ^[0-9a-f]{32,}$ ]]; then
    echo 'init-databases: a password is not hex of 32 digits or more; see docs/production.md' >&2
    exit 1
  fi
done

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<SQL
create role temporal login createdb password '${temporal_password}';
create role anneal login password '${anneal_password}';
create database anneal owner anneal;
revoke connect on database anneal from public;
SQL
