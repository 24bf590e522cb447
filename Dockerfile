# The page and the commands in one image, see CONTAINER.md:
#   docker build -t restoration .
#   docker run --rm -p 8080:8080 restoration                                          # the page
#   docker run --rm -v "$PWD:/data" restoration inception2.py --dataset slides        # a command
#
# The base is pinned by its version, not by its digest, which could not be looked up where this was written. To pin it:
#   --build-arg BASE=python@sha256:...    as docker buildx imagetools inspect names it
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS runtime
# For a GPU: --build-arg TENSORFLOW=tensorflow[and-cuda]
ARG TENSORFLOW=tensorflow
WORKDIR /app
# Apart from the code, so that a change of the code installs nothing anew.
COPY requirements.txt requirements-app.txt constraints.txt constraints-app.txt ./
RUN python3 -m pip install --no-cache-dir -r requirements.txt "$TENSORFLOW" -c constraints.txt \
 && python3 -m pip install --no-cache-dir --target /opt/page -r requirements-app.txt -c constraints-app.txt
COPY . .
RUN chmod -R a+rX . && useradd --uid 1000 --create-home person && install -d -o person -g person /data
ENV PORT=8080 GRADIO_SERVER_NAME=0.0.0.0 MPLCONFIGDIR=/tmp/matplotlib
EXPOSE 8080
USER 1000
# datasets/, runs/, results/, assets/ and outputs/ are made here: one volume for all of them.
WORKDIR /data
VOLUME ["/data"]
# The page's packages lie apart, see requirements-app.txt: the commands do not see them.
ENTRYPOINT ["sh", "-c", "case $0 in app.py) export PYTHONPATH=/opt/page;; esac; exec python3 \"/app/$0\" \"$@\""]
CMD ["app.py"]

# docker build --target test . runs the suite inside of the image.
FROM runtime AS test
USER 0
RUN python3 -m pip install --no-cache-dir -r /app/requirements-dev.txt -c /app/constraints.txt
USER 1000
WORKDIR /app
# There is no git in here: what needs its list of files is skipped.
RUN python3 -m pytest -p no:cacheprovider

FROM runtime
