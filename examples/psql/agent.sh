#!/usr/bin/env bash
# An agent in plain SQL with psql, in one session.
#
# Usage: DATABASE_URL=postgresql://… bash agent.sh [how many handoffs to do before leaving]
#
# psql shows a push only after its next command, so this agent looks once a second.
set -euo pipefail
cd "$(dirname "$0")"
todo=${1:--1}

coproc DB { psql "$DATABASE_URL" -XqAt -v ON_ERROR_STOP=1 -v name=plain-psql; }
psql=$DB_PID # bash forgets it once psql has ended
tell() { printf '%s\n' "$1" >&"${DB[1]}"; }

tell '\i register.sql'
while ((todo != 0)); do
  tell '\i look.sql'
  looked=no
  while [[ $looked == no ]] && read -r line <&"${DB[0]}"; do
    case $line in
      looked) looked=yes ;;
      completed*) echo "$line" && todo=$((todo - 1)) ;;
      *) echo "$line" ;;
    esac
  done
  [[ $looked == yes ]] || { echo >&2 "psql has ended"; exit 1; }
  ((todo == 0)) || sleep 1
done
tell '\i leave.sql'
tell '\q'
wait "$psql"
