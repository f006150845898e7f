"""A pytest plugin (`-p tests.support.no_shrink`): a property that fails says so at once, with any example."""

from hypothesis import Phase, settings

settings.register_profile("no shrink", phases=(Phase.explicit, Phase.generate), database=None)
settings.load_profile("no shrink")
