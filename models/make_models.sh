#!/usr/bin/env bash
# Makes the models, their reports and their cards:
#
#   models/make_models.sh chest_xray [runs]
#
# chest_xray is the Kaggle copy of the Guangzhou films, resized to 224x224 with Pillow's bicubic filter.
# Needs the extras dicom, train and convert, and about six hours on two cores. An interrupted run goes
# on. Nothing else should run while the last part measures times.
set -euo pipefail

data="$(cd "$1" && pwd)"
mkdir -p "${2:-runs}"
runs="$(cd "${2:-runs}" && pwd)"
models="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
docs="$models/../docs"
licence="Apache-2.0; trained on films under CC BY 4.0 (Kermany, Zhang, Goldbaum, doi:10.17632/rscbjbr9sj.2)"

# train RUN OPTION…: a run of this name, unless it is finished.
train() {
  local name="$1"
  shift
  [[ -f "$runs/$name/model.keras" ]] || edge-xray train "$data" -o "$runs/$name" "$@"
}

# NETWORK RUN SPLIT OPTION…: the recipe of each network on one split.
lite0() { train "$1" --split "$2" "${@:3}"; }
tiny() { train "$1" --split "$2" --architecture tiny "${@:3}"; }
baseline() {
  train "$1" --split "$2" --architecture baseline --input-size 96 --steps-per-epoch 100 \
    --learning-rate 1e-3 "${@:3}"
}

# tiny is for machines that may have the older runtime, which has no delegate for int8: it does without everywhere.
declare -A kernels=([lite0]=--delegate [tiny]=--no-delegate)

# pack NETWORK RUN: the shipped int8 file of a run.
pack() {
  edge-xray convert "$runs/$2/model.keras" --int8 "${kernels[$1]}" --draws 8 --data "$data" \
    -o "$models/edge-xray-$1.tflite"
}

split="$runs/split.json"
[[ -f "$split" ]] || edge-xray split "$data" -o "$split"

# lite0: from ImageNet weights. baseline: the plain CNN, 50 times 100 steps. tiny: from nothing, learning from
# lite0 as int8, which answers sooner; then on from where it came to, with lite0 asked about every varied film.
lite0 lite0 "$split" --epochs 24 --name edge-xray-lite0 --licence "$licence"
first=(--learning-rate 2e-3 --teacher-weight 0.6)
again=(--learning-rate 1e-3 --teacher-weight 0.8 --teacher-sees view)
pack lite0 lite0
teacher=(--teacher "$models/edge-xray-lite0.tflite")
tiny tiny "$split" --epochs 60 "${first[@]}" "${teacher[@]}"
tiny tiny-2 "$split" --epochs 30 "${again[@]}" "${teacher[@]}" --initial "$runs/tiny/model.keras" \
  --name edge-xray-tiny --licence "$licence"
pack tiny tiny-2
declare -A shipped=([lite0]=lite0 [tiny]=tiny-2 [baseline]=baseline)
baseline baseline "$split" --epochs 50

# lite0 with two more seeds.
for seed in 1 2; do
  lite0 "lite0-seed$seed" "$split" --epochs 24 --seed "$seed"
done

# Augmentation as it is often done: rotation and exposure, a little of each.
cat >"$runs/plain.toml" <<'PLAIN'
[augmentation]
rotation_degrees = 5.0
contrast = 0.1
brightness = 15.0
zoom = 0.0
zoom_out = 0.0
aspect = 0.0
gamma = 0.0
equalize_chance = 0.0
shading_chance = 0.0
blur_chance = 0.0
resize_chance = 0.0
noise_chance = 0.0
jpeg_chance = 0.0
border_chance = 0.0
patch_chance = 0.0
PLAIN

# Stand-ins for another site: the same recipes, shortened, without one series of normal films, measured
# on that series.
stand_in() {
  local run="$1" held="$2"
  edge-xray evaluate "$runs/$run/model.keras" --data "$data" --split "$held" --train-part "" \
    --no-shortcut --robustness-films 200 -o "$runs/$run" "${@:3}"
}
for series in NORMAL2 IM; do
  [[ "$series" == IM ]] && name="NORMAL2 to IM" || name="IM to NORMAL2"
  held="$runs/no-$series.json"
  [[ -f "$held" ]] || edge-xray split "$data" -o "$held" --hold-out "$series-*"
  lite0 "lite0-no-$series" "$held" --epochs 3
  edge-xray convert "$runs/lite0-no-$series/model.keras" --int8 --data "$data" -o "$runs/lite0-no-$series/teacher.tflite"
  teacher=(--teacher "$runs/lite0-no-$series/teacher.tflite")
  tiny "tiny-no-$series" "$held" --epochs 15 "${first[@]}" "${teacher[@]}"
  tiny "tiny-2-no-$series" "$held" --epochs 8 "${again[@]}" "${teacher[@]}" \
    --initial "$runs/tiny-no-$series/model.keras"
  baseline "baseline-no-$series" "$held" --epochs 10
  for network in lite0 tiny baseline; do
    robustness=--no-robustness
    [[ "$network" == lite0 ]] && robustness=--robustness
    stand_in "${shipped[$network]}-no-$series" "$held" "$robustness" --record "$runs/${shipped[$network]}/record.json" \
      --stand-in "$name"
  done
  lite0 "plain-no-$series" "$held" --epochs 3 --config "$runs/plain.toml"
  stand_in "plain-no-$series" "$held"
done

cp "$split" "$models/split.json"
for name in lite0 tiny; do
  model="$models/edge-xray-$name"
  run="$runs/${shipped[$name]}"
  (
    cd "$models"
    edge-xray parity "$run/model.keras" "edge-xray-$name.tflite" --data "$data" \
      --split split.json --no-films -o "edge-xray-$name.parity"
  )
  edge-xray evaluate "$model.tflite" --data "$data" --split "$split" -o "$runs/evaluation-$name"
  for kind in json md html; do
    cp "$runs/evaluation-$name/evaluation.$kind" "$model.evaluation.$kind"
  done
  cp "$run/record.json" "$model.record.json"
done

# Beside other networks, and from seed to seed.
edge-xray convert "$runs/baseline/model.keras" --int8 --seed 1 --data "$data" \
  -o "$runs/baseline/edge-xray-baseline.tflite"
edge-xray convert "$runs/lite0/model.keras" --float32 --data "$data" \
  -o "$runs/edge-xray-lite0-float32.tflite"
edge-xray compare "$models/edge-xray-lite0.tflite" "$models/edge-xray-tiny.tflite" "$runs/baseline" \
  "$runs/edge-xray-lite0-float32.tflite" --data "$data" --split "$split" -o "$runs/comparison"
edge-xray compare "$runs/lite0" "$runs"/lite0-seed[12] --data "$data" --split "$split" --no-robustness \
  -o "$runs/seeds"
for kind in json md html; do
  cp "$runs/comparison/comparison.$kind" "$models/comparison.$kind"
  cp "$runs/seeds/comparison.$kind" "$models/edge-xray-lite0.seeds.$kind"
done

for name in lite0 tiny; do
  python "$docs/make_card.py" "$models/edge-xray-$name.tflite" --record "$models/edge-xray-$name.record.json"
done
python "$docs/make_index.py" "$models" --default edge-xray-lite0
python "$docs/make_samples.py" "$data" --split "$split"
