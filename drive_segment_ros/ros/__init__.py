"""Conversion between ROS and arrays: messages, QoS, parameters, transforms, diagnostics.

Messages are read by attribute, so rclpy's and rosbags' classes both work.
"""
