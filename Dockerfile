# The worker: workflows and activities. The command line is for people's machines and is not in here.
FROM node:24.11.1-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY contract contract
COPY domain domain
COPY workflows workflows
COPY activities activities
COPY services services
COPY app app
COPY workers workers
RUN npm run build

FROM node:24.11.1-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:24.11.1-bookworm-slim
# Root certificates: the native part of the Temporal SDK uses the system's, when Temporal is reached over TLS.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
# Sent to every pod over SSH.
COPY jobs jobs
ENV NODE_ENV=production \
  ANNEAL_WORKFLOW_BUNDLE=/app/dist/workflow-bundle.js \
  ANNEAL_HEALTH_FILE=/tmp/anneal-worker.alive
# The base image's own account; everything under /app belongs to root and is read-only to it.
USER node
STOPSIGNAL SIGTERM
# Shell form, so that check and worker share one variable.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD node dist/workers/health.js "$ANNEAL_HEALTH_FILE"
# Node itself, not npm, so that SIGTERM reaches the worker.
CMD ["node", "--enable-source-maps", "dist/workers/main.js"]
