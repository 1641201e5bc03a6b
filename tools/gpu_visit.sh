#!/usr/bin/env bash
# What is worth knowing of a GPU machine, in a quarter of an hour, the most important first.
#
#   tools/gpu_visit.sh pack [PYTHON]        before: put into .gpu/ the wheels that a machine with
#                                           PyTorch, CUDA 13 and no network lacks (Python 3.12)
#   tools/gpu_visit.sh [--dry] OUT [PART…]  there: run the parts, all by default
#
#   1 jittor   it starts, is right and how fast (needs nvcc, the first compile included)
#   2 pytorch  the PyTorch engine's tests that need a GPU
#   3 bench    both engines and diffusers at batch 128 and 512: make bench BENCH=--gpu
#   4 compare  the engines against each other, 100 steps of cifar10.yml
#   5 train    cifar10_medium.yml in the time that is left
#
# Every part has a time limit and leaves OUT/N-NAME.log; a part that ended well leaves a .done and is
# skipped the next time. All end within MINUTES (14). .gpu/ is ignored by git: carry it along. With
# --dry the parts run with tiny sizes on a CPU, to find mistakes before the visit.
set -u
cd "$(dirname "$0")/.."

WHEELS="numpy==1.26.4 astunparse==1.6.3 pydantic==2.14.3 pydantic_core==2.50.4
  annotated-types==0.8.0 typing-inspection==0.4.5 platformdirs==4.12.4 filelock==3.32.7
  safetensors==0.8.0 psutil==7.2.2 PyYAML==6.0.3 typer==0.29.1 shellingham==1.5.4 rich==15.0.0
  markdown-it-py==4.3.0 mdurl==0.1.2 Pygments==2.21.0 annotated-doc==0.0.6 nvidia-ml-py==13.615.71
  tqdm==4.70.1
  pytest==9.0.2 pytest-timeout==2.4.0 pluggy==1.6.0 iniconfig==2.3.0 packaging==26.3
  diffusers==0.42.0 huggingface_hub==2.4.0 httpx2==2.16.2 httpcore2==2.16.2 h11==0.16.0
  anyio==4.16.0 truststore==0.10.5 fsspec==2026.9.0 regex==2026.11.19 importlib_metadata==10.2.0
  zipp==4.1.2 idna==3.20"

pack() {
  mkdir -p .gpu/wheels
  "$1" -m pip wheel -q --no-deps -w .gpu/wheels jittor==1.3.11.0 || exit 1
  for wheel in $WHEELS; do
    "$1" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 \
      --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 -d .gpu/wheels "$wheel" || exit 1
  done
  du -sh .gpu
}

if [ "${1:-}" = pack ]; then
  pack "${2:-python3}"
  exit
fi

dry=
if [ "${1:-}" = --dry ]; then
  dry=yes
  shift
fi
: "${1:?which folder? tools/gpu_visit.sh [--dry] OUT [PART…]}"
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
parts=${*:-1 2 3 4 5}
python=${PYTHON:-python3}
end=$((SECONDS + 60 * ${MINUTES:-14}))
root=$PWD

if [ -d .gpu/wheels ] && [ ! -d .gpu/site ]; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --target .gpu/site .gpu/wheels/*.whl
fi
[ -d .gpu/site ] && export PYTHONPATH=$root/.gpu/site:${PYTHONPATH:-}
export PYTHONPATH=$root/src:${PYTHONPATH:-}
if [ "$dry" ]; then device=cpu; else device=cuda; fi
export DDIM_TEST_DEVICE=$device

# part NUMBER NAME SECONDS COMMAND…: run the command in its time, or in what is left of all.
part() {
  local number=$1 name=$2 limit=$3 left=$((end - SECONDS)) log=$out/$1-$2.log status
  shift 3
  case " $parts " in *" $number "*) ;; *) return ;; esac
  [ -e "$out/$number-$name.done" ] && return
  if [ $left -lt 20 ]; then
    echo "$name: no time left"
    return
  fi
  local begun=$SECONDS
  timeout -k 10 $((limit < left ? limit : left)) "$@" >"$log" 2>&1
  status=$?
  [ $status = 0 ] && touch "$out/$number-$name.done"
  echo "$name: exit $status after $((SECONDS - begun)) s"
  tail -n 12 "$log" | sed 's/^/    /'
}

ddim() { "$python" -m jittor_ddim "$@"; }
tests() { "$python" -m pytest -q -p no:cacheprovider --durations=5 "$@"; }

jittor() {
  ddim doctor --engine jittor --device $device
  tests -m jittor tests/engines/test_unet.py::test_output_equals_the_official_code \
    tests/engines/test_trainer.py::test_twenty_steps_equal_the_official_code \
    tests/engines/test_sampling.py::test_samples_equal_the_official_code \
    tests/engines/test_precision.py
}

pytorch() { tests -m pytorch tests/engines/pytorch/test_cuda.py tests/engines/pytorch/test_cuda_graphs.py; }

bench() { "$python" -m benchmarks $bench --out "$out/bench"; }

compare() { ddim compare --config $config --device $device --steps $steps --out "$out/compare"; }

# The part's limit ends it, and it saves when it is told to end.
train() {
  trap : TERM  # the time is up: wait until it has saved
  resume=$(compgen -G "$out/logs/medium/ckpt_*" >/dev/null && echo --resume_training)
  ddim train --config $medium --exp "$out" --doc medium $resume --engine pytorch \
    --device $device --precision $low $compile --set training.snapshot_freq=1000 --ni
}

if [ "$dry" ]; then
  config=digits.yml medium=digits.yml steps=3 low=float32 compile= bench=--quick
else
  config=cifar10.yml medium=cifar10_medium.yml steps=100 low=bfloat16 compile=--compile
  bench="--gpu --minutes 3"
fi
export python device out config medium steps low compile bench
export -f ddim tests jittor pytorch bench compare train

part 1 jittor 240 bash -c jittor
part 2 pytorch 120 bash -c pytorch
part 3 bench 300 bash -c bench
part 4 compare 150 bash -c compare
part 5 train 900 bash -c train
