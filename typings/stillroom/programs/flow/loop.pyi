from programs.flow.loop import *
