from programs.flow.runner import *
