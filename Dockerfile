# The image of every container of docker-compose.yml: sources, production packages and their own
# Node. Nothing is compiled and no install script runs, so amd64 and arm64 build alike.
FROM node:24.18.0-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:24.18.0-bookworm-slim AS panel
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json .
COPY broker broker
COPY backend backend
RUN node backend/panel/build.ts && test -s backend/panel/dist/index.html

FROM debian:12.13-slim
# The folders first: a new volume takes owner and mode of what it covers.
RUN groupadd --system --gid 8480 kernreaktor \
  && useradd --system --uid 8480 --gid 8480 --no-create-home --home-dir /nonexistent \
    --shell /usr/sbin/nologin kernreaktor \
  && install -d -m 700 -o 8480 -g 8480 /data /data/tls /data/broker /agent \
  && install -d -m 700 /executor \
  && install -d -m 750 -g 8480 /run/kernreaktor \
  && ln -s /app/bin/kernreaktor /usr/local/bin/kernreaktor
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
RUN ln -s /app/node_modules/node-linux-*/bin/node /usr/local/bin/node
COPY package.json LICENSE kernreaktor.ts ./
COPY bin bin
COPY broker broker
COPY daemon daemon
COPY backend backend
COPY simulator simulator
COPY --from=panel /app/backend/panel/dist backend/panel/dist
COPY packaging/compose packaging/compose
ENV KR_DATA_DIR=/data
USER kernreaktor
VOLUME /data
EXPOSE 8480 8443 8883
# Starting a Node for it takes a while on a small or busy machine.
HEALTHCHECK --interval=15s --timeout=15s --start-period=60s \
  CMD ["node", "/app/packaging/compose/health.ts", "backend"]
CMD ["kernreaktor", "backend"]
