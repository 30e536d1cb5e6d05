# Learning, trying, and topics by the wheels of ROS 2, on Python alone; x86-64.
#   docker build -f docker/slim.Dockerfile -t drive_segment_slim .
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libgomp1 libusb-1.0-0 libx11-6 \
    && rm -rf /var/lib/apt/lists/*

COPY . /src
WORKDIR /src
RUN tools/install.sh ros,train,openvino,web,hub,datasets,video,cluster,s3

RUN useradd --create-home drive
USER drive
WORKDIR /home/drive
CMD ["drive-segment", "--help"]
