# An image with `distill`, for a laptop, a Ray cluster's nodes or a Kubernetes job. It runs as a user without rights.
#   docker build -t rerank-distill .                                                                       # CPU
#   docker build -t rerank-distill:cuda --build-arg TORCH=torch --build-arg TORCH_INDEX=https://pypi.org/simple .
#   docker run --rm --init --shm-size 1g --user "$(id -u)" -v "$PWD:/work" -e DEEPSEEK_API_KEY rerank-distill run my.yaml
#   docker run --rm --init --user "$(id -u)" -v "$PWD:/work" -e MY_KEY -p 8080:8080 rerank-distill \
#     serve --model runs/my/students/direct --mode direct --host 0.0.0.0 --client-key-env MY_KEY
# `--user` is who owns the mounted folder, `--init` hands signals on and ends what Ray leaves. With CUDA the wheels of
# torch bring the libraries; the host needs NVIDIA's driver and container toolkit (--gpus all).
FROM python:3.12-slim

# The CPU build is on PyTorch's own index. For CUDA that index must go, too: pip takes 2.13.0+cpu for newer than 2.13.0.
ARG TORCH="torch==2.13.0+cpu"
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=serve,s3

# HOME and USER are for a `--user` that the image does not know.
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HF_HOME=/work/.cache/huggingface XDG_CACHE_HOME=/work/.cache \
    XDG_CONFIG_HOME=/work/.cache/config HOME=/tmp USER=distill
WORKDIR /src
RUN pip install --extra-index-url "$TORCH_INDEX" "$TORCH"
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY distill distill
COPY teacher teacher
COPY filters filters
COPY sft sft
RUN pip install ".[$EXTRAS]" && useradd --create-home --uid 1000 distill && install -d -o distill /work

USER distill
WORKDIR /work
ENTRYPOINT ["distill"]
CMD ["--help"]
