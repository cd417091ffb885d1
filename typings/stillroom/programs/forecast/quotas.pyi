from programs.forecast.quotas import *
