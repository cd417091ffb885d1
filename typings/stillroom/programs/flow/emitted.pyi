from programs.flow.emitted import *
