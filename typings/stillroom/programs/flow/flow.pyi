from programs.flow.flow import *
