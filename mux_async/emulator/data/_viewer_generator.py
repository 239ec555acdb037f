"""Generates viewers: their location, device, player and plan."""

from __future__ import annotations

import uuid
from random import Random

from mux_async.emulator.data._views import Viewer
from mux_async.emulator.data._vocabulary import DEVICES, LOCATIONS, PLANS


def make_viewer(seed: str) -> Viewer:
    """Make up a viewer, the same for the same *seed*."""
    random = Random(seed)  # noqa: S311 - made-up data, not secrets
    (place,) = random.choices(LOCATIONS, [place.weight for place in LOCATIONS])
    (device,) = random.choices(DEVICES, [device.weight for device in DEVICES])
    plan, status, category = random.choice(PLANS)
    connection = random.choice(device.connections) if device.connections else None
    is_web = device.page_type is not None
    fast = 3_000_000 if connection == "cellular" else 12_000_000
    return Viewer(
        mux_viewer_id=str(uuid.UUID(int=random.getrandbits(128), version=4)),
        viewer_user_id=f"user-{random.randrange(10_000, 99_999)}" if plan is not None else None,
        sub_property_id=random.choice(("web", "web", "partner")) if is_web else "apps",
        asn=place.asn,
        asn_name=place.asn_name,
        isp=place.asn_name,
        city=place.city,
        continent_code=place.continent_code,
        country_code=place.country_code,
        country_name=place.country_name,
        latitude=place.latitude,
        longitude=place.longitude,
        metro=place.metro,
        region=place.region,
        viewer_application_engine=device.application_engine,
        viewer_application_name=device.application_name,
        viewer_application_version=device.application_version,
        viewer_connection_type=connection,
        viewer_device_category=device.category,
        viewer_device_manufacturer=device.manufacturer,
        viewer_device_model=device.model,
        viewer_device_name=device.name,
        viewer_os_architecture=device.os_architecture,
        viewer_os_family=device.os_family,
        viewer_os_version=device.os_version,
        viewer_user_agent=device.user_agent,
        viewer_plan=plan,
        viewer_plan_category=category,
        viewer_plan_status=status,
        platform_description=f"{device.application_name} {device.application_version} on {device.os_family} ({device.name})",
        platform_summary=f"{device.application_name} on {device.os_family}",
        player_autoplay=random.random() < 0.4,
        player_height=device.screen[1],
        player_language=random.choice(("en", "en", "de", "fr", "ja", "pt")),
        player_mux_plugin_name=device.plugin_name,
        player_mux_plugin_version=device.plugin_version,
        player_name=device.player_name,
        player_preload=random.random() < 0.3,
        player_software=device.player_software,
        player_software_version=device.player_software_version,
        player_version=random.choice(("2.4.0", "2.4.1")),
        player_width=device.screen[0],
        client_application_name=None if is_web else device.application_name,
        client_application_version=None if is_web else device.application_version,
        mux_embed="mux-embed" if is_web else None,
        mux_embed_version="5.14.0" if is_web else None,
        page_type=device.page_type,
        custom_1=random.choice(("organic", "organic", "newsletter", "campaign")),
        experiment_name=random.choice((None, "fast-start", "control")),
        throughput=int(fast * random.lognormvariate(0.0, 0.5)),
    )
