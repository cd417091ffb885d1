from programs.flow.steps import *
