# The appliance in one image: docker build -t wfm --build-arg VERSION=$(git describe --tags --always) .
# Run it with a volume that keeps its data:
#   docker run -p 1883:1883 -p 8000:8000 -v wfm-data:/data wfm
# With TLS (docs/tls.md), it has to be told by which name agents reach it:
#   docker run -p 8883:8883 -p 8000:8000 -e WFM_MQTT_TLS_ENABLED=true -e WFM_MQTT_PUBLIC_HOST=… -v wfm-data:/data wfm

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-X wfm/internal/buildinfo.version=${VERSION}" -o /out/wfm ./cmd/wfm
# A new volume takes over the owner of the directory it covers, and the final image has no shell
# to make one with.
RUN mkdir /out/data

FROM gcr.io/distroless/static:nonroot
COPY --from=build /out/wfm /wfm
COPY --from=build --chown=nonroot:nonroot /out/data /data
ENV WFM_DATA_DIR=/data
EXPOSE 1883 8883 8000 8443
VOLUME /data
ENTRYPOINT ["/wfm"]
CMD ["serve"]
