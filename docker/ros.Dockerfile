# Nodes and launch files on ROS 2 Jazzy, for the vehicle; x86-64 and aarch64.
#   docker build -f docker/ros.Dockerfile -t drive_segment_ros .
FROM ros:jazzy-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PIP_BREAK_SYSTEM_PACKAGES=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /ws
COPY . src/drive_segment_ros
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && rosdep update --rosdistro jazzy \
    && rosdep install --from-paths src --ignore-src -y \
    && rm -rf /var/lib/apt/lists/*
# apt's Typer is older, the others have no rosdep key.
RUN pip install 'typer>=0.12' 'openvino>=2024.4'
RUN . /opt/ros/jazzy/setup.bash \
    && colcon build --packages-select drive_segment_ros

# The base image's entry point sources ROS; this adds the workspace.
RUN sed -i '/^exec/i source /ws/install/setup.bash' /ros_entrypoint.sh \
    && ln -s /ws/install/drive_segment_ros/lib/drive_segment_ros/drive-segment /usr/local/bin/
CMD ["ros2", "launch", "drive_segment_ros", "segment.launch.py", "--show-args"]
