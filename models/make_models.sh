#!/usr/bin/env bash
# Makes the shipped models, their reports and their cards again:
#
#   models/make_models.sh chest_xray [runs]
#
# chest_xray is the Kaggle copy of the Guangzhou films, resized to 224x224 with Pillow's bicubic filter.
# Needs the extras train and convert, and about two hours on two cores. An interrupted run goes on.
set -euo pipefail

data="$(cd "$1" && pwd)"
mkdir -p "${2:-runs}"
runs="$(cd "${2:-runs}" && pwd)"
models="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
docs="$models/../docs"
licence="Apache-2.0; trained on films under CC BY 4.0 (Kermany, Zhang, Goldbaum, doi:10.17632/rscbjbr9sj.2)"
split="$runs/split.json"

[[ -f "$split" ]] || edge-xray split "$data" -o "$split"

# lite0: twelve epochs from ImageNet weights; seven more that learn from the first run's answers; the
# mean of the two.
edge-xray train "$data" --split "$split" -o "$runs/lite0-a" --epochs 12
edge-xray train "$data" --split "$split" -o "$runs/lite0-b" --epochs 7 --learning-rate 3e-4 --seed 1 \
  --initial "$runs/lite0-a/model.keras" --teacher "$runs/lite0-a/model.keras" --teacher-weight 0.4
edge-xray average "$runs/lite0-a" "$runs/lite0-b" --data "$data" -o "$runs/lite0" \
  --name edge-xray-lite0 --licence "$licence"

# tiny: from nothing, learning from lite0.
edge-xray train "$data" --split "$split" -o "$runs/tiny" --architecture tiny --epochs 20 \
  --learning-rate 2e-3 --teacher "$runs/lite0/model.keras" --teacher-weight 0.6 \
  --name edge-xray-tiny --licence "$licence"

cp "$split" "$models/split.json"
for name in lite0 tiny; do
  model="$models/edge-xray-$name"
  edge-xray convert "$runs/$name/model.keras" --int8 --seed 1 --data "$data" -o "$model.tflite"
  (
    cd "$models"
    edge-xray parity "$runs/$name/model.keras" "edge-xray-$name.tflite" --data "$data" \
      --split split.json --no-films -o "edge-xray-$name.parity"
  )
  edge-xray evaluate "$model.tflite" --data "$data" --split "$split" -o "$runs/evaluation-$name"
  for kind in json md html; do
    cp "$runs/evaluation-$name/evaluation.$kind" "$model.evaluation.$kind"
  done
  cp "$runs/$name/record.json" "$model.record.json"
  python "$docs/make_card.py" "$model.tflite" --record "$runs/$name/record.json"
done
python "$docs/make_index.py" "$models" --default edge-xray-lite0
python "$docs/make_samples.py" "$data" --split "$split"
