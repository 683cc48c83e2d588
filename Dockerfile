# The image holds an interpreter, the coordinator and the libraries that these two load: no shell,
# no package manager, no pip, nothing setuid. docs/container.md tells how to build, run and check it.
#
# The tag names one release of Python and one of Debian. It is no digest: none could be looked up
# where this was written. Give PYTHON=name:tag@sha256:… to pin what you have checked.
ARG PYTHON=docker.io/library/python:3.13.16-slim-bookworm

FROM ${PYTHON} AS build
SHELL ["/bin/bash", "-o", "errexit", "-o", "nounset", "-o", "pipefail", "-c"]
WORKDIR /build

COPY requirements.txt ./
# Every pinned file is checked against its hash here. The installation below takes what the
# project needs from this folder alone, so the tools of its developers stay behind.
RUN pip download --quiet --no-cache-dir --no-deps --require-hashes --requirement requirements.txt --dest /wheels

COPY pyproject.toml LICENSE README.md ./
COPY deploy/coordinator.service deploy/coordinator@.service ./deploy/
COPY docs/coordinator.1 ./docs/
COPY schema ./schema
COPY src ./src
RUN python -m venv --without-pip /opt/coordinator; \
    pip --python /opt/coordinator/bin/python install --quiet --no-cache-dir --no-compile \
        --no-index --find-links /wheels .

# What the label says must be true.
ARG VERSION=""
RUN actual="$(/opt/coordinator/bin/python -c 'import coordinator; print(coordinator.__version__)')"; \
    if [ "${VERSION:-$actual}" != "$actual" ]; then \
        echo >&2 "VERSION=$VERSION was asked for, and this is $actual"; exit 1; \
    fi

# The interpreter without what a daemon never imports.
WORKDIR /image
RUN mkdir --parents usr/local/bin usr/local/lib opt; \
    cp --archive /usr/local/bin/python /usr/local/bin/python3 /usr/local/bin/python3.?? usr/local/bin/; \
    cp --archive /usr/local/lib/libpython3* /usr/local/lib/python3* usr/local/lib/; \
    cp --archive /opt/coordinator opt/; \
    for part in config-* ensurepip idlelib pydoc_data site-packages tkinter turtledemo turtle.py venv \
        'lib-dynload/_*test*' lib-dynload/_tkinter*; \
    do \
        find usr/local/lib -path "*/python3.??/$part" -prune -exec rm --recursive {} +; \
    done; \
    find . \( -name __pycache__ -o -path './opt/*/bin/[Aa]ctivate*' -o -path ./opt/coordinator/share \) -prune -exec rm --recursive {} +; \
    # Written now, since nothing can be at run time; by content, so that time stamps do not matter.
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /image \
        /image/usr/local/lib /image/opt/coordinator/lib

# The libraries that these load, and libgcc_s, which the threads of glibc load when they end. For
# each its licence, and its entry in the package list, so that scanners know what is in here.
RUN mkdir --parents usr/bin usr/lib usr/lib64 var/lib/dpkg/status.d etc; \
    ln --symbolic usr/bin bin; ln --symbolic usr/lib lib; ln --symbolic usr/lib64 lib64; \
    { find . -type f \( -name '*.so*' -o -path './usr/local/bin/python3*' \) -exec ldd {} + 2>/dev/null; \
      ldconfig --print-cache | grep --fixed-strings 'libgcc_s.so.1 '; } \
        | awk '$(NF-1) == "=>" { print $NF } $2 == "=>" { print $3 } $1 ~ "^/.*[^:]$" { print $1 }' \
        | grep --extended-regexp '^/(usr/)?lib' | sort --unique > /libraries; \
    xargs --arg-file /libraries cp --dereference --parents --target-directory .; \
    { sed 's,.*/,*/,' /libraries | xargs dpkg-query --search | cut --delimiter : --fields 1; \
      echo base-files; echo ca-certificates; } | sort --unique > /packages; \
    while read -r package; do \
        dpkg-query --status "$package" > "var/lib/dpkg/status.d/$package"; \
        cp --parents "/usr/share/doc/$package/copyright" .; \
    done < /packages

# Names, trusted roots, where libraries are, and a user who owns nothing.
RUN cp --archive --parents /etc/os-release /usr/lib/os-release /etc/debian_version /etc/ssl \
        /usr/lib/ssl /usr/share/ca-certificates /etc/ld.so.conf /etc/ld.so.conf.d .; \
    ldconfig -r /image; \
    echo 'root:x:0:0:root:/nonexistent:/usr/sbin/nologin' > etc/passwd; \
    echo 'coordinator:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> etc/passwd; \
    printf 'root:x:0:\ncoordinator:x:10001:\n' > etc/group; \
    install --directory --mode=1777 tmp

FROM scratch
ARG PYTHON
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="coordinator" \
      org.opencontainers.image.description="Hands work between AI agents, with all state in PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON}"
COPY --from=build /image /
ENV PATH=/opt/coordinator/bin:/usr/local/bin:/usr/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Numbers, so that Kubernetes can see that it is not root.
USER 10001:10001
STOPSIGNAL SIGTERM
# Whether it lives. A lost database is no illness: the daemon waits for it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["coordinator", "health"]
ENTRYPOINT ["coordinator"]
CMD ["run"]
