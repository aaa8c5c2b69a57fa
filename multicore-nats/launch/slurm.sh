#!/bin/sh
# A job of Slurm with agents on all of its nodes and the master on the first one: sbatch --nodes=8 slurm.sh ./program arguments
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
set -eu

server=$(hostname)
folder=$(mktemp -d)
trap 'kill $agents $nats 2>/dev/null; wait; rm -rf "$folder"' EXIT

# The nodes of a job are its own network here. Elsewhere give the server TLS, and set MULTICORE_HOSTS_CA.
nats-server -js -sd "$folder" -a 0.0.0.0 -p 4222 >"$folder/nats.log" 2>&1 &
nats=$!

export MULTICORE_HOSTS="$server:4222" MULTICORE_HOSTS_ALLOW_PLAINTEXT=1
srun --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" --kill-on-bad-exit=0 env MULTICORE_AGENT=1 "$1" &
agents=$!

"$@"
