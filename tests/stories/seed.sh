#!/bin/sh
# The story of the first prototypes, with nothing but curl: list the workflows, upload, start, ask
# for the status, read the log, cancel, download. SERVER, TOKEN and a directory to work in are given.
set -eu
cd "$1"
ask() { curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" "$@"; }
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
step() { echo "== $*"; }

submit() { # NAME=VALUE lines of the dummy workflow's environment
    ask "$SERVER/v1/jobs" -H 'Content-Type: application/json' \
        -d '{"workflow": "dummy", "inputs": {"env": {"upload": {}}}, "start": false}' >job.json
    id=$(sed 's/"uploads".*//' job.json | member id)
    printf '%s\n' "$@" >env.txt
    curl -sS --fail-with-body -T env.txt "$(member url <job.json)"
    ask -X POST "$SERVER/v1/jobs/$id/start" >/dev/null
}

final() {
    state=
    until [ "$state" = SUCCEEDED ] || [ "$state" = FAILED ] || [ "$state" = CANCELED ]; do
        state=$(ask -H 'Prefer: wait=10' "$SERVER/v1/jobs/$id" | member state)
    done
    echo "$state"
}

step list
ask "$SERVER/v1/workflows" | grep -q '"id":"dummy"'

step "a job that ends well"
submit SOURCE=/etc/os-release DESTINATION=/output/result SLEEPTIME=1
final
step log
ask "$SERVER/v1/jobs/$id/logs"
step download
ask "$SERVER/v1/jobs/$id/outputs"
echo

step "a job that fails"
submit SOURCE=/nowhere DESTINATION=/output/result SLEEPTIME=0
final
echo "$(ask "$SERVER/v1/jobs/$id" | member code)"

step "a job that is canceled"
submit SOURCE=/etc/os-release DESTINATION=/output/result SLEEPTIME=600
ask -X POST "$SERVER/v1/jobs/$id/cancel" >/dev/null
final
