from programs.flow.working import *
