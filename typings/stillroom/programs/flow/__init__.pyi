from programs.flow import *
