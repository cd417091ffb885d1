from programs.flow.schedule import *
