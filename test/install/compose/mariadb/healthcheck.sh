#!/bin/sh
# Answers as the official image's does to --connect --innodb_initialized.
exec mariadb --user=healthcheck --password=healthcheck --execute='SELECT 1' > /dev/null
