"""Composition root of the simulator. Outside development it contributes nothing: nobody may pay there without money."""

from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources
from careforall.simulator import api, api_hot, control, pages
from careforall.simulator.acting import Acting
from careforall.simulator.delivery import Courier
from careforall.simulator.service import Simulator
from careforall.simulator.settings import SimulatorSettings

_DELIVER_EVERY = 0.05


def build(resources: Resources) -> Parts:
    """Wire the simulator."""
    settings = resources.settings
    if not isinstance(settings, SimulatorSettings):
        raise TypeError("the simulator is built from its own settings")
    courier = Courier(resources.database, settings)
    base = f"{settings.public_url.rstrip('/')}/simulator"
    acting = Acting(resources.database, base=base, fee_points=settings.simulator_fee_points)
    simulator = Simulator(resources.database, acting, courier)
    if settings.environment != "development":
        return Parts(service=simulator)
    return Parts(
        service=simulator,
        pages=(api.router(settings.api_key), control.router(), pages.router(pages.Pages())),
        hot=api_hot.hot_routes(simulator, settings.api_key),
        jobs=(Job(name="simulator webhooks", every=_DELIVER_EVERY, work=courier.deliver_due, exclusive=False),),
        stop=(acting.drain, courier.close),
    )


SERVICE = Definition(name="simulator", package=__package__ or "", settings=SimulatorSettings, build=build)
