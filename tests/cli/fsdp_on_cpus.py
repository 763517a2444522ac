"""`elusive` with FSDP on CPU processes: accelerate shards weights over GPUs only, and is told otherwise here."""

import accelerate.state
from accelerate.utils import DistributedType

own_init = accelerate.state.AcceleratorState.__init__


def init(self, *args, **options):
    own_init(self, *args, **options)
    plugin = options.get("fsdp_plugin") or self.__dict__.get("kept_plugin")
    if plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        self.kept_plugin = self.fsdp_plugin = plugin
        self.distributed_type = DistributedType.FSDP


accelerate.state.AcceleratorState.__init__ = init
