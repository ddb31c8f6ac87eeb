# The pipeline and all that it needs, in the versions of envs/constraints.txt. The folder mounted at /work gets results.
#   docker build -t kanbench .
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/work" kanbench --cores 2
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/work" --entrypoint python kanbench -m kanbench summary
# The package's configurations are in /opt/kanbench/config: --configfile /opt/kanbench/config/smoke.yaml
# Each new container compiles the kernels, in half a minute. With -e NUMBA_CACHE_DIR=kernels, the mounted folder keeps them.
FROM python:3.11-slim-bookworm

WORKDIR /opt/kanbench
COPY pyproject.toml README.md LICENSE ./
COPY envs envs
COPY config config
COPY workflow workflow
COPY Snakefile ./
RUN pip install --no-cache-dir --constraint envs/constraints.txt --editable .

# Snakemake, matplotlib and numba keep files in the user's home, which has to be writable for any user.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/opt/kanbench/Snakefile"]
