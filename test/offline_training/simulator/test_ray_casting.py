from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from offline_training.simulator.ray_casting import open3d
assert 'dash' not in sys.modules, 'the web server came along'
assert 'open3d.visualization.draw_plotly' not in sys.modules, 'the stand-in was left behind'
points = open3d.utility.Vector3dVector([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
figure = open3d.visualization.get_plotly_fig([open3d.geometry.PointCloud(points)])
assert len(figure.data) == 1
"""


def test_open3d_comes_without_its_web_server_and_still_plots() -> None:
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
