#!/bin/sh
# Makes database and user on an empty folder, from the official image's variables.
set -eu
data=/var/lib/mysql
if [ ! -d "$data/mysql" ]; then
  mariadb-install-db --user=mysql --datadir="$data" --skip-test-db > /dev/null
  {
    echo "CREATE DATABASE $MARIADB_DATABASE CHARACTER SET utf8mb4;"
    echo "CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$(cat "$MARIADB_PASSWORD_FILE")';"
    echo "GRANT ALL ON $MARIADB_DATABASE.* TO '$MARIADB_USER'@'%';"
    echo "ALTER USER root@localhost IDENTIFIED BY '$(cat "$MARIADB_ROOT_PASSWORD_FILE")';"
    echo "CREATE USER healthcheck@localhost IDENTIFIED BY 'healthcheck';"
  } > /tmp/init.sql
  chmod 644 /tmp/init.sql
  set -- "$@" --init-file=/tmp/init.sql
fi
exec "$@" --user=mysql --datadir="$data" --bind-address=0.0.0.0
