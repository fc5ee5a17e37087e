FROM python:3.13-slim-bookworm

# git for worktrees; procps so that agents and people find `ps`; tini reaps what agents leave behind.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git openssh-client procps tini \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY . .
RUN python -m compileall -q apps kanban_agents \
    && useradd --uid 1000 --create-home kanban \
    && install -d -o kanban -g kanban -m 700 /data

USER kanban
# A container is reached from outside it by definition, so the address isn't loopback.
ENV KANBAN_HOST=0.0.0.0 KANBAN_DATA_DIR=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 37100
ENTRYPOINT ["tini", "--", "python", "manage.py"]
CMD ["serve"]
