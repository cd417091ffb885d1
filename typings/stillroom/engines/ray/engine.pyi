from engines.ray.engine import *
