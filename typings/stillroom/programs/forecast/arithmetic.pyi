from programs.forecast.arithmetic import *
