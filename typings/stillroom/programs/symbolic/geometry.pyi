from programs.symbolic.geometry import *
