from __future__ import annotations

from drive_segment_ros import doctor
from drive_segment_ros.ros.launching import environment


def test_processes_get_the_transport_that_the_doctor_wants(monkeypatch):
    monkeypatch.delenv('FASTDDS_BUILTIN_TRANSPORTS', raising=False)
    assert doctor.check_transport(environment()).status == 'ok'
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    assert environment() == {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}
