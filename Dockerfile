FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.txt ./
# Every pinned file is checked against its hash here. The installation below takes what the
# project needs from this folder alone, so the tools of its developers stay behind.
RUN pip download --quiet --no-cache-dir --require-hashes -r requirements.txt --dest /wheels
COPY pyproject.toml LICENSE README.md ./
COPY schema ./schema
COPY src ./src
RUN python -m venv /opt/coordinator \
    && /opt/coordinator/bin/pip install --quiet --no-cache-dir --no-index --find-links /wheels . \
    && /opt/coordinator/bin/pip uninstall --quiet --yes setuptools pip

FROM python:3.11-slim
COPY --from=build /opt/coordinator /opt/coordinator
ENV PATH=/opt/coordinator/bin:$PATH
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin coordinator
# A number, so that Kubernetes can see that it is not root.
USER 10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["coordinator", "health"]
ENTRYPOINT ["coordinator"]
CMD ["run"]
