# An image with `distill`, for a laptop, a Ray cluster's nodes or a Kubernetes job. It runs as a user without rights.
#   docker build -t rerank-distill .                                                                       # CPU
#   docker build -t rerank-distill:cuda --build-arg TORCH=torch --build-arg TORCH_INDEX=https://pypi.org/simple .
#   docker run --rm -v "$PWD:/work" -e DEEPSEEK_API_KEY rerank-distill run my.yaml
# With CUDA the wheels of torch bring the libraries; the host needs NVIDIA's driver and container toolkit (--gpus all).
FROM python:3.12-slim

# The CPU build is on PyTorch's own index. For CUDA that index must go, too: pip takes 2.13.0+cpu for newer than 2.13.0.
ARG TORCH="torch==2.13.0+cpu"
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=serve,s3

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HF_HOME=/work/.cache/huggingface XDG_CACHE_HOME=/work/.cache
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
