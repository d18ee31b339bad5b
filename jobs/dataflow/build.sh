#!/bin/bash
# Build on Google Cloud Dataflow, with input and output in Google Cloud Storage.
#
#     jobs/dataflow/build.sh IMAGE PROJECT REGION gs://BUCKET/temp \
#         --source voxceleb2 --input gs://BUCKET/VoxCeleb2 --output gs://BUCKET/voxceleb2-shards --landmarks dlib
#
# IMAGE is built from jobs/image/Dockerfile, in a registry that Dataflow can read; the local driver and the workers run in it.
# For a GPU per worker (--landmarks fan) add --machine_type n1-standard-8
# --dataflow_service_options 'worker_accelerator=type:nvidia-tesla-t4;count:1;install-nvidia-driver'
# Untested, see docs/cluster.md, "What has been tested".
set -euo pipefail

image=$1 project=$2 region=$3 temporary=$4
shift 4
exec docker run --rm --entrypoint python --volume "$HOME/.config/gcloud:/root/.config/gcloud:ro" "$image" -m dataset.build \
    --runner DataflowRunner --project "$project" --region "$region" --temp_location "$temporary" \
    --sdk_container_image "$image" --sdk_location container --number_of_worker_harness_threads 1 --disk_size_gb 50 "$@"
